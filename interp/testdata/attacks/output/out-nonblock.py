# out-nonblock {"want": "ok|exc:BlockingIOError"}
import fcntl,os
fcntl.fcntl(1,4,os.O_NONBLOCK)
n=0
try:
    for i in range(200): n+=os.write(1,b'y'*4096)
except BlockingIOError: pass
print('end')
