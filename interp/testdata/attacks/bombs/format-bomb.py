# format-bomb {"want": "exc:MemoryError|output_flood|exc:OverflowError|exc:ValueError"}
print('%1000000000d'%1)
