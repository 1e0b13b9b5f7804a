"""Which category a product of the Online Retail file stands in: a table of words. Called by catalog.online_retail.

The first shelf in the table one of whose words is in the product's name gets it. Words are compared whole, a plural
like its singular.
"""

import re
from dataclasses import dataclass

_PLURAL = re.compile(r"(?<=X)ES$|S+$")  # rough, on both sides of the comparison: CHRISTMAS is CHRISTMA
_WORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")


@dataclass(frozen=True, slots=True)
class Shelf:
    """A category of the second level, and the department that it stands in."""

    department: str
    name: str
    words: frozenset[str] = frozenset()


def _shelf(department: str, name: str, words: str = "") -> Shelf:
    return Shelf(department, name, frozenset(map(_singular, words.split())))


def _singular(word: str) -> str:
    return _PLURAL.sub("", word)


# What a thing is for (Christmas, play) goes before what it is (a bowl), and that before what it looks like (a heart).
SHELVES = (
    _shelf("Seasonal", "Christmas", "CHRISTMAS XMAS ADVENT SANTA REINDEER SNOWFLAKE SNOWMAN BAUBLE HOLLY MISTLETOE"),
    _shelf("Seasonal", "Easter", "EASTER BUNNY RABBIT EGG CHICK"),
    _shelf("Seasonal", "Party", "PARTY BIRTHDAY BALLOON BUNTING GARLAND STREAMER CONFETTI INVITE FLAG"),
    _shelf(
        "Accessories", "Jewellery", "NECKLACE NECKL BRACELET EARRING BROOCH BANGLE PENDANT DIAMANTE RING CHARM ANKLET"
    ),
    _shelf("Accessories", "Bags & purses", "BAG PURSE SHOPPER HANDBAG WASHBAG LUGGAGE PASSPORT WALLET BASKET"),
    _shelf(
        "Accessories",
        "To wear",
        "HAIR SCARF UMBRELLA PARASOL SHAWL PONCHO APRON GLOVE SOCK SLIPPER HAT FAN BADGE WARMER",
    ),
    _shelf(
        "Children",
        "Toys & games",
        "TOY GAME JIGSAW PUZZLE DOLL SKITTLE DOMINO BLOCK YOYO PLAYHOUSE TEDDY ROCKING MOBILE",
    ),
    _shelf(
        "Children", "Craft", "FELTCRAFT FELT KIT STICKER CRAYON PENCIL SEWING KNITTING CRAFT CHALK MAGNET SLATE PATCH"
    ),
    _shelf("Paper", "Cards & wrap", "CARD POSTCARD WRAP RIBBON TISSUE GIFT ENVELOPE TAG TAPE"),
    _shelf(
        "Paper",
        "Stationery",
        "NOTEBOOK SKETCHBOOK PEN PAPER JOURNAL ALBUM CALENDAR RULER ERASER BOOK STATIONERY CALCULATOR",
    ),
    _shelf(
        "Kitchen",
        "Baking & cooking",
        "CAKE BAKING BISCUIT RECIPE OVEN SPOON JAR JELLY JAM SCALE KITCHEN CUPCAKE PAN HERB",
    ),
    _shelf(
        "Kitchen",
        "Tea & lunch",
        "LUNCH TEA COFFEE SUGAR SNACK BOTTLE PICNIC CAKESTAND COSY FOOD POPCORN TOAST TOASTRACK",
    ),
    _shelf(
        "Home", "Candles & lights", "CANDLE T-LIGHT LIGHT LANTERN LAMP LAMPSHADE CHANDELIER INCENSE CANDLESTICK BURNER"
    ),
    _shelf(
        "Kitchen",
        "Tableware",
        "MUG CUP PLATE BOWL GLASS GLASSES TEAPOT SAUCER JUG CUTLERY NAPKIN COASTER TRAY TUMBLER DISH",
    ),
    _shelf(
        "Home",
        "Bath & soft furnishings",
        "CUSHION DOORMAT QUILT THROW CURTAIN TOWEL RUG COVER BATH BATHROOM FLANNEL SOAP",
    ),
    _shelf(
        "Home", "Storage", "BOX TIN DRAWER CABINET HOOK HANGER RACK HOLDER SHELF STAND CRATE CASE POT ORGANISER BIN"
    ),
    _shelf(
        "Home", "Walls & doors", "SIGN FRAME PHOTOFRAME CLOCK MIRROR WALL DOOR KNOB TILE DOORSTOP PICTURE LETTER PRINT"
    ),
    _shelf("Home", "Garden", "GARDEN PLANT WATERING PLANTER SEED GNOME WINDMILL TROWEL TOADSTOOL"),
    _shelf(
        "Home", "Decorations", "DECORATION HANGING HEART STAR ORNAMENT TREE FLOWER WREATH BIRD BUTTERFLY VASE ROSE BEAD"
    ),
)
OTHERS = _shelf("Curiosities", "This & that")


def shelf_of(name: str) -> Shelf:
    """The shelf of a product by its name."""
    words = {_singular(word.rstrip("-")) for word in _WORD.findall(name.upper())}
    return next((shelf for shelf in SHELVES if words & shelf.words), OTHERS)
