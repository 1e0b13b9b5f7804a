"""The two rules of the ledger that no column constraint can say: it only grows, and no more returns than was deducted."""

from django.db import migrations

RULES = """
CREATE FUNCTION catalog_ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the stock ledger only grows: write a movement that puts it right'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'stock_movement_only_grows', TABLE = 'catalog_stockmovement';
END $$;

CREATE TRIGGER stock_movement_only_grows BEFORE UPDATE OR DELETE ON catalog_stockmovement
    FOR EACH ROW EXECUTE FUNCTION catalog_ledger_only_grows();

CREATE FUNCTION catalog_return_at_most_deducted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    -- One return of a product at a time: the second one sees the first.
    PERFORM 1 FROM catalog_stock WHERE product_id = NEW.product_id FOR NO KEY UPDATE;
    SELECT coalesce(sum(on_hand_delta), 0) INTO kept FROM catalog_stockmovement
        WHERE order_line = NEW.order_line AND kind IN ('deduct', 'return');
    IF kept > 0 THEN
        RAISE EXCEPTION 'line %: % more returned than was deducted', NEW.order_line, kept
            USING ERRCODE = 'check_violation', CONSTRAINT = 'stock_movement_returns_what_was_deducted',
                  TABLE = 'catalog_stockmovement';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER stock_movement_returns_what_was_deducted AFTER INSERT ON catalog_stockmovement
    FOR EACH ROW WHEN (NEW.kind = 'return') EXECUTE FUNCTION catalog_return_at_most_deducted();
"""

BACK = """
DROP TRIGGER stock_movement_returns_what_was_deducted ON catalog_stockmovement;
DROP FUNCTION catalog_return_at_most_deducted();
DROP TRIGGER stock_movement_only_grows ON catalog_stockmovement;
DROP FUNCTION catalog_ledger_only_grows();
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    operations = [migrations.RunSQL(RULES, BACK)]
