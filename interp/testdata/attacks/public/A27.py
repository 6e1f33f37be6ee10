# A27 {"want": "exc:MemoryError alive"}
a=[]
while True: a.append(bytearray(8<<20))
