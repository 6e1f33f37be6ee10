# thread-works {"want": "ok", "has": "[0, 1, 2"}
import threading
r=[]
t=[threading.Thread(target=r.append,args=(i,)) for i in range(8)]
[x.start() for x in t];[x.join() for x in t]
print(sorted(r))
