# thread-bomb {"want": "ok|exc:MemoryError|timeout_wall|timeout_cpu"}
import threading,time
n=0
try:
    while n<20000: threading.Thread(target=time.sleep,args=(30,),daemon=True).start(); n+=1
except RuntimeError: pass
print('n',n)
if n>5000: print('BAD')
