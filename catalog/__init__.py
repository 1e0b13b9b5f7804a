"""What is for sale: categories, products, images, stock and the ledger of its movements."""
