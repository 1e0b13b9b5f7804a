"""Each rule of reading and cleaning, on lines made for it; then the figures of the sample that we ship."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from catalog.demo import SAMPLE
from catalog.online_retail import COLUMNS, Garbled, Item, Reason, RetailFile, catalogue_of, read_file
from catalog.shelves import OTHERS, shelf_of

MUG = "536365,85123A,RED MUG,6,2010-12-01 08:26:00,2.55,17850,United Kingdom"


def written(folder: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    """A file of these rows."""
    path = folder / "retail.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def sales(folder: Path, *rows: tuple[str, str, int, str]) -> dict[str, Item]:
    """The catalogue of lines of (code, description, quantity, price), by SKU."""
    lines = [f'1,{code},"{name}",{quantity},2010-12-01,{price},,UK' for code, name, quantity, price in rows]
    return {item.sku: item for item in catalogue_of(read_file(written(folder, *lines)).lines).items}


@pytest.fixture(scope="module")
def sample() -> RetailFile:
    return read_file(SAMPLE)


# --- reading ---------------------------------------------------------------------------------------------------------
def test_a_packed_file_is_the_same_file(tmp_path: Path) -> None:
    plain = written(tmp_path, MUG)
    packed = tmp_path / "retail.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert read_file(packed).lines == read_file(plain).lines
    assert read_file(packed).digest == read_file(plain).digest


def test_columns_may_come_in_another_order_with_others_between(tmp_path: Path) -> None:
    names = [*reversed(COLUMNS), "Note"]
    row = [*reversed(MUG.split(",")), "hello"]
    path = written(tmp_path, ",".join(row), header=",".join(names))

    (line,) = read_file(path).lines

    assert (line.invoice, line.sku, line.quantity, line.price) == ("536365", "85123A", 6, Decimal("2.55"))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (MUG.replace(",6,", ",six,"), r"line 3, column Quantity: must be a whole number.*'six'"),
        (MUG.replace(",6,", ",1.5,"), "line 3, column Quantity"),
        (MUG.replace(",6,", ",9999999999,"), "line 3, column Quantity"),
        (MUG.replace("2.55", "NaN"), "line 3, column UnitPrice: must be an amount"),
        (MUG.replace("2.55", "two"), "line 3, column UnitPrice"),
        (MUG.replace("2.55", "1e400"), "line 3, column UnitPrice"),
        (MUG.replace("2010-12-01 08:26:00", "yesterday"), "line 3, column InvoiceDate"),
        (MUG.replace("17850", "Bob"), "line 3, column CustomerID"),
        (MUG.replace("85123A", ""), "line 3, column StockCode: must be 1 to 40 printable characters"),
        (MUG.replace("RED", "R\0D"), "line 3, column Description"),
        (MUG + ",more", "line 3: 9 columns where the header has 8"),
        (MUG.replace("17850", "17851"), "line 3: invoice 536365 names a second customer"),
        (MUG.replace("RED", '"RED" "'), "line 3: "),
    ],
)
def test_a_garbled_line_is_named(tmp_path: Path, row: str, complaint: str) -> None:
    with pytest.raises(Garbled, match=complaint):
        read_file(written(tmp_path, MUG, row))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(Garbled, match="line 1: there is no column UnitPrice"):
        read_file(written(tmp_path, header=",".join(COLUMNS).replace("UnitPrice", "Price")))


def test_a_missing_a_damaged_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(gzip.compress(b"InvoiceNo" * 1000)[:-9])
    foreign = tmp_path / "foreign.csv"
    foreign.write_bytes(f"{','.join(COLUMNS)}\n{MUG}\n\xa340".encode("latin-1"))

    with pytest.raises(Garbled, match="cannot be read: No such file"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(Garbled, match="damaged gzip"):
        read_file(damaged)
    with pytest.raises(Garbled, match="line 3: byte 0xa3 is not UTF-8"):
        read_file(foreign)


# --- cleaning --------------------------------------------------------------------------------------------------------
def test_codes_that_differ_by_case_are_one_sku(tmp_path: Path) -> None:
    items = sales(tmp_path, ("85123a", "MUG", 2, "1"), ("85123A", "MUG", 3, "1"))

    assert {sku: item.units for sku, item in items.items()} == {"85123A": 5}


def test_the_name_is_the_commonest_description(tmp_path: Path) -> None:
    rows = [("85123A", name, 1, "1") for name in ("MUG", "RED  MUG ", "RED MUG", "", "", "")]

    assert sales(tmp_path, *rows)["85123A"].name == "RED MUG"


def test_of_equally_common_descriptions_the_first_in_the_alphabet_is_the_name(tmp_path: Path) -> None:
    rows = [("85123A", name, 1, "1") for name in ("damages", "TEAPOT", "JUG")]

    assert sales(tmp_path, *rows)["85123A"].name == "JUG"


def test_the_price_is_the_median_of_the_positive_ones(tmp_path: Path) -> None:
    rows = [("85123A", "MUG", 1, price) for price in ("0", "0", "9.99", "2.10", "2.55")]

    assert sales(tmp_path, *rows)["85123A"].price == Decimal("2.55")


@pytest.mark.parametrize(("prices", "median"), [(("1.00", "1.01"), "1.00"), (("1.01", "1.02"), "1.02")])
def test_half_a_penny_goes_to_the_even_one(tmp_path: Path, prices: tuple[str, str], median: str) -> None:
    items = sales(tmp_path, *(("85123A", "MUG", 1, price) for price in prices))

    assert str(items["85123A"].price) == median


def test_units_are_the_sum_of_positive_quantities(tmp_path: Path) -> None:
    items = sales(tmp_path, ("85123A", "MUG", 6, "1"), ("85123A", "MUG", -4, "1"), ("85123A", "found", 1, "0"))

    assert items["85123A"].units == 7


@pytest.mark.parametrize("code", ["POST", "D", "M", "BANK CHARGES", "AMAZONFEE", "DOT", "C2", "S", "B", "GIFT_0001_40"])
def test_services_and_vouchers_are_no_products(tmp_path: Path, code: str) -> None:
    (line,) = read_file(written(tmp_path, MUG.replace("85123A", code))).lines

    (left_out,) = catalogue_of([line]).left_out
    assert (left_out.reason, left_out.skus, left_out.lines) == (Reason.NO_PRODUCT, (code,), 1)


@pytest.mark.parametrize("price", ["0", "-5", "0.004"])
def test_a_code_that_never_costs_a_penny_is_no_product(tmp_path: Path, price: str) -> None:
    (line,) = read_file(written(tmp_path, MUG.replace("2.55", price))).lines

    (left_out,) = catalogue_of([line]).left_out
    assert left_out.reason == Reason.NEVER_PRICED


@pytest.mark.parametrize(
    ("name", "shelf"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", "Candles & lights"),
        ("CHRISTMAS TREE DECORATION", "Christmas"),
        ("SET OF 3 CAKE TINS", "Baking & cooking"),
        ("JUMBO BAG RED RETROSPOT", "Bags & purses"),
        ("SET OF 2 WOODEN BOXES", "Storage"),
        ("GLASS BOWL", "Tableware"),
        ("SPACE OWL", OTHERS.name),
    ],
)
def test_a_word_of_the_name_tells_the_shelf(name: str, shelf: str) -> None:
    assert shelf_of(name).name == shelf


# --- the sample that we ship -----------------------------------------------------------------------------------------
def test_the_sample_is_what_its_credit_says(sample: RetailFile) -> None:
    catalogue = catalogue_of(sample.lines)

    assert (len(sample.lines), len(sample.invoices())) == (701, 328)
    assert (len(catalogue.items), sum(item.units for item in catalogue.items)) == (194, 23851)
    assert [(out.reason, len(out.skus), out.lines) for out in catalogue.left_out] == [(Reason.NO_PRODUCT, 7, 41)]
    assert SAMPLE.stat().st_size < 100_000
    assert "CC BY 4.0" in SAMPLE.with_name("README.md").read_text()


def test_every_line_of_the_sample_is_of_a_product_or_left_out(sample: RetailFile) -> None:
    catalogue = catalogue_of(sample.lines)
    skus = {item.sku for item in catalogue.items}

    assert sum(line.sku in skus for line in sample.lines) + sum(out.lines for out in catalogue.left_out) == 701
