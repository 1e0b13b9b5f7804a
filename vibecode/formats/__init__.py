"""How dates and times are written, by language. Read by Django: FORMAT_MODULE_PATH."""
