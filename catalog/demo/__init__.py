"""The demo shop: a sample of real invoices and pictures that we draw. Called by load_demo_shop."""

from pathlib import Path

SAMPLE = Path(__file__).with_name("online_retail_sample.csv.gz")
