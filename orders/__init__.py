"""What was bought: orders, their lines, their states, their story."""
