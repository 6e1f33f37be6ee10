# mem-string {"want": "exc:MemoryError|exc:OverflowError"}
s='x'
while True: s+=s
