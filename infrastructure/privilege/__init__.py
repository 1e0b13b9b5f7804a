"""Least privilege, proved both ways: what our functions call, against what their roles may. docs/permissions.md."""
