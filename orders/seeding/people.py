"""Who buys in a large shop, and who works there: names, e-mails, addresses. Called by orders.seeding."""

_GIVEN = [
    "Ada",
    "Grace",
    "Olivia",
    "Noah",
    "Amelia",
    "Oscar",
    "Priya",
    "Mateo",
    "Zoë",
    "Björn",
    "Łucja",
    "François",
    "Aoife",
    "Siobhán",
    "Chloé",
    "Jürgen",
]
_FAMILY = [
    "Hopper",
    "Lovelace",
    "Okafor",
    "García",
    "Müller",
    "Østergaard",
    "Kowalczyk",
    "O’Brien",
    "Nakamura",
    "Şahin",
    "Dvořák",
    "Singh",
]
_MAILS = [
    "ada",
    "grace",
    "olivia",
    "noah",
    "amelia",
    "oscar",
    "priya",
    "mateo",
    "zoe",
    "bjorn",
    "lucja",
    "francois",
    "aoife",
    "siobhan",
    "chloe",
    "jurgen",
]
_MAIL_ENDS = [
    "hopper",
    "lovelace",
    "okafor",
    "garcia",
    "muller",
    "ostergaard",
    "kowalczyk",
    "obrien",
    "nakamura",
    "sahin",
    "dvorak",
    "singh",
]
_FOREIGN = {
    "王小明": "wang.xiaoming",
    "田中 さくら": "tanaka.sakura",
    "Дмитрий Иванов": "dmitry.ivanov",
    "محمد عبد الله": "mohammed.abdullah",
    "נועה כהן": "noa.cohen",
    "Νίκος Παπαδόπουλος": "nikos.papadopoulos",
    "สมชาย ใจดี": "somchai.jaidee",
    "김민준": "kim.minjun",
    "María de los Ángeles Fernández de Córdoba y Álvarez de las Asturias Bohorques": "maria.de.los.angeles.fernandez",
    "Maximiliane Wilhelmine Friederike Charlotte zu Hohenlohe-Waldenburg-Schillingsfürst-Langenburg": "maximiliane",
}
PEOPLE: dict[str, list[str]] = {
    "given": _GIVEN,
    "family": _FAMILY,
    "mails": _MAILS,
    "mail_ends": _MAIL_ENDS,
    "foreign": list(_FOREIGN),
    "foreign_mails": list(_FOREIGN.values()),
}

CUSTOMERS = """
WITH drawn AS (
    SELECT n, md5('customer' || n) AS digest, pg_temp.chance(n, 12) < 0.12 AS foreign_name,
           1 + floor(pg_temp.chance(n, 10) * cardinality(%(given)s::text[]))::int AS given,
           1 + floor(pg_temp.chance(n, 11) * cardinality(%(family)s::text[]))::int AS family,
           1 + floor(pg_temp.chance(n, 10) * cardinality(%(foreign)s::text[]))::int AS stranger
    FROM generate_series(1, %(customers)s) n
), made AS (
    INSERT INTO accounts_user (cognito_sub, email, name, is_active, is_staff, is_superuser, created_at)
    SELECT digest::uuid::text,
           CASE WHEN pg_temp.chance(n, 13) < 0.05 THEN '' ELSE CASE WHEN foreign_name
               THEN (%(foreign_mails)s::text[])[stranger]
               ELSE (%(mails)s::text[])[given] || '.' || (%(mail_ends)s::text[])[family] END
               || n || '@example.' || pg_temp.one_of('{com,org,net}', n, 14) END,
           CASE WHEN foreign_name THEN (%(foreign)s::text[])[stranger]
               ELSE (%(given)s::text[])[given] || ' ' || (%(family)s::text[])[family] END,
           pg_temp.chance(n, 15) >= 0.002, false, false,
           %(now)s - interval '735 days' * (1 - power(n::float8 / %(customers)s, 0.7))
    FROM drawn ORDER BY n
    RETURNING id, cognito_sub, name
)
INSERT INTO seed_people SELECT row_number() OVER (ORDER BY id) - 1, id, cognito_sub, name FROM made
"""

ADDRESSES = """
INSERT INTO accounts_address (user_id, name, line1, line2, city, region, postal_code, country, phone, created_at)
SELECT id, name, 1 + place %% 190 || ' ' || pg_temp.one_of('{High Street,Station Road,Mill Lane,Park View}', place, 1),
       '', pg_temp.one_of('{London,Leeds,Bristol,Glasgow,Cardiff,Lyon,Berlin,Porto,Utrecht,Gdańsk}', place, 2), '',
       upper(substr(md5(place::text), 1, 6)),
       CASE WHEN pg_temp.chance(place, 2) < 0.5 THEN 'GB' ELSE pg_temp.one_of('{FR,DE,PT,NL,PL}', place, 2) END, '',
       %(now)s - interval '700 days' * pg_temp.chance(place, 3)
FROM seed_people WHERE pg_temp.chance(place, 4) < 0.6 ORDER BY place
"""

COLLEAGUES = """
WITH made AS (
    INSERT INTO accounts_user (cognito_sub, email, name, is_active, is_staff, is_superuser, created_at)
    SELECT 'seed-colleague-' || n, 'colleague' || n || '@example.com', 'Colleague ' || n, true, true, false, %(now)s
    FROM generate_series(1, 5) n ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO accounts_user_groups (user_id, group_id)
SELECT made.id, auth_group.id FROM made, auth_group WHERE auth_group.name = 'warehouse'
"""
