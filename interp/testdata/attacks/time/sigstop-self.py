# sigstop-self {"want": "ok|timeout_wall gone", "wantC": "exc:PermissionError"}
import os,signal
os.kill(os.getpid(),signal.SIGSTOP)
print('on')
