# mem-huge-one {"want": "exc:MemoryError alive"}
b=bytearray(1<<40)
