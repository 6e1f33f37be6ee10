# A19 {"want": "ok", "has": "28 4095", "hasC": "13 0"}
n=0
try:
    for i in range(10**6): open("/tmp/i%d"%i,"w").close(); n+=1
except OSError as e: print(e.errno, n)
