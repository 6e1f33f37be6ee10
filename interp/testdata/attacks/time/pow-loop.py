# pow-loop {"want": "timeout_cpu|timeout_wall|exc:MemoryError"}
x=3
while True: x=x*x
