# proto-reopen-tamper {"want": "ok|timeout_wall|protocol_violation|exited:73;ok|timeout_wall|protocol_violation|exited:73|crashed:SIGSEGV"}
import gc
for o in gc.get_objects():
    if isinstance(o,dict) and 'session_loop' in o and 'answer' in o: o['answer']=lambda *a: None; o['execute']=None
print('t')
# next cell
print('u')
