"""What a stage will cost: from the templates, what is asked of it in a month, and a dated table of prices.

`python -m infrastructure.costs` prints it; the deployment asks `change` what a change of the templates changes.
What the bill really was, `manage.py costs` says.
"""
