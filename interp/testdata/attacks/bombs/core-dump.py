# core-dump {"want": "crashed gone", "wantC": "exc:PermissionError"}
import resource,os,signal
print(resource.getrlimit(resource.RLIMIT_CORE))
if resource.getrlimit(resource.RLIMIT_CORE)!=(0,0): print('BAD')
os.kill(os.getpid(),signal.SIGABRT)
import ctypes; ctypes.string_at(1)
