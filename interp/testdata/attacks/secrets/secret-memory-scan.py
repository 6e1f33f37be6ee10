# secret-memory-scan {"want": "ok"}
import gc,ctypes
for o in gc.get_objects():
    try:
        s=repr(o) if isinstance(o,(str,bytes,dict,list)) and len(o)<2000 else ''
    except BaseException: s=''
    if 'canary-' in s and 'canary-\' in s' not in s: print('BAD',s[:80])
