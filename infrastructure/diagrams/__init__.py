"""Pictures of what the templates make, drawn from them: docs/infrastructure.md. See __main__.py."""
