"""How the shop gets to AWS: its package, the hand-over between CDK and Zappa, the order workflow."""
