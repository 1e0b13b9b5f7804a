"""Tests of the staff's admin."""
