"""What a large shop sells. Called by orders.seeding."""

CATEGORIES = """
WITH department AS (
    INSERT INTO catalog_category (name, slug, position)
    SELECT name, 'seed-' || lower(name), place FROM unnest(ARRAY[
        'Kitchen', 'Garden', 'Lighting', 'Stationery', 'Toys', 'Textiles', 'Bath', 'Seasonal'
    ]) WITH ORDINALITY AS department (name, place)
    RETURNING id, name, slug
)
INSERT INTO catalog_category (name, slug, parent_id, position)
SELECT theme || ' ' || lower(name), slug || '-' || lower(theme), id, place
FROM department, unnest(ARRAY['Vintage', 'Modern', 'Rustic', 'Classic', 'Mini', 'Gift']) WITH ORDINALITY AS t (theme, place)
"""

PRODUCTS = """
WITH shelf AS MATERIALIZED (
    SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS shelves
    FROM catalog_category WHERE slug LIKE 'seed-%%-%%'
), drawn AS (
    SELECT n, 'VB-' || lpad(n::text, 6, '0') AS sku, %(now)s::timestamptz - interval '760 days' * (1 - n::float8 / %(products)s) AS made,
           concat_ws(' ',
               pg_temp.one_of('{Red,White,Blue,Sage,Ivory,Charcoal,Mustard,Rose,Navy,Pastel}', n, 1),
               pg_temp.one_of('{Enamel,Cotton,Glass,Wicker,Ceramic,Bamboo,Paper,Linen,Tin,Oak}', n, 2),
               pg_temp.one_of('{Lantern,Mug,Bunting,Notebook,Basket,Teapot,Candle,Cushion,Clock,Tray,Apron,Bottle}', n, 3),
               pg_temp.one_of('{"Set of 6",Large,Small,"with Lid",Retrospot,Heart,Star,"for the Garden"}', n, 4)
           ) AS name
    FROM generate_series(1, %(products)s) n
), made AS (
    INSERT INTO catalog_product (
        sku, name, slug, description, price, currency, status, category_id, version, created_at, updated_at
    )
    SELECT sku, name, lower(replace(name, ' ', '-') || '-' || sku), name || ', made to last and packed by hand.',
           round((0.55 + 40 * power(pg_temp.chance(n, 5), 3))::numeric, 2), %(currency)s,
           CASE WHEN pg_temp.chance(n, 6) < 0.03 THEN 'draft' WHEN pg_temp.chance(n, 6) < 0.08 THEN 'archived'
                ELSE 'published' END,
           (SELECT id FROM shelf WHERE place = 1 + floor(pg_temp.chance(n, 7) * shelves)), 1, made,
           made + (%(now)s - made) * pg_temp.chance(n, 8)
    FROM drawn
    RETURNING id, sku, name, price
), stock AS (
    INSERT INTO catalog_stock (product_id, on_hand, reserved, reorder_point)
    SELECT id, 0, 0, CASE WHEN pg_temp.chance(id, 9) < 0.8 THEN 10 ELSE 0 END FROM made
)
INSERT INTO seed_goods SELECT row_number() OVER (ORDER BY sku) - 1, id, sku, name, price FROM made
"""
