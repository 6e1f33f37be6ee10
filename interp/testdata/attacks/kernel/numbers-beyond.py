# numbers-beyond {"as": "native", "want": "ok"}
for n in list(range(424,470))+[512,513,520,547,1000,4096,0x40000000,0x40000000+41,0x40000000+59,0x7fffffff]:
    r=e(n,-1,0,0,0,0,0)
    if r==0 and n not in (435,437,439,441,436,452): print('BAD',n)
