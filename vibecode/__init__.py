"""The platform under the shop: settings, AWS, outbox, idempotency, errors. It knows no order and no product."""
