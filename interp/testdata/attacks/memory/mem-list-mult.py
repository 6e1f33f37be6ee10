# mem-list-mult {"want": "exc:MemoryError"}
[0]*(10**11)
