# A18 {"want": "ok", "has": "28 ", "hasC": "13 0"}
import os
n=0
try:
    for i in range(100): 
        with open("/tmp/f%d"%i,"wb") as f: f.write(b"x"*(2<<20)); n+=1
except OSError as e: print(e.errno, n)
