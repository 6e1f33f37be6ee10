# A42 {"want": "output_flood gone"}
while True: print("A"*65536)
