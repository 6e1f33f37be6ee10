# fs-tmp-noexec {"want": "ok", "wantC": "exc:PermissionError"}
import ctypes,shutil,glob
so=[x for x in glob.glob('/usr/lib/*/libz.so.1')+glob.glob('/usr/lib/*/libm.so.6')][0]
shutil.copy(so,'/tmp/x.so')
try: ctypes.CDLL('/tmp/x.so'); print('BAD')
except OSError as e: print(e)
