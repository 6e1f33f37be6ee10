# hash-and-sort {"want": "exc:MemoryError|timeout_cpu|timeout_wall|memory"}
x=list(range(10**7))
while True: x.sort(key=lambda v:-v)
