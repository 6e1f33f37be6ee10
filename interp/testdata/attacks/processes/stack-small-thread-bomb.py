# stack-small-thread-bomb {"want": "ok|exc:MemoryError|timeout_wall|timeout_cpu|crashed:SIGKILL"}
import threading,time
threading.stack_size(32768)
n=0
try:
    while n<20000: threading.Thread(target=time.sleep,args=(9,),daemon=True).start(); n+=1
except (RuntimeError,MemoryError): pass
print('n',n)
if n>3000: print('BAD',n)
