"""The deployment: a stage's stacks, package, schema and functions brought to AWS in one command, and back.

`python -m infrastructure.deploying deploy|rollback --stage dev`; docs/deploy.md tells the whole way.
"""
