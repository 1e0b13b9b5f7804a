"""What a stage will cost: from the templates, what is asked of it in a month, and a dated table of prices.

`python -m infrastructure.costs` prints it; the deployment asks `monthly`, or `change`, which says what of it changes.
What the bill really was, `manage.py costs` says.
"""

from infrastructure.costs.bill import change, monthly

__all__ = ["change", "monthly"]
