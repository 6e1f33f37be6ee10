# thread-churn {"want": "ok", "has": "n True"}
import threading,time
end=time.time()+0.3
n=0
while time.time()<end:
    t=threading.Thread(target=len,args=('',)); t.start(); t.join(); n+=1
print('n',n>5)
