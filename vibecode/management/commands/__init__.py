"""manage.py's commands of this app, one a module."""
