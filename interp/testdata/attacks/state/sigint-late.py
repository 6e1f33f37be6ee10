# sigint-late {"want": "ok|exc:KeyboardInterrupt|protocol_violation|timeout_wall|timeout_cpu;ok|exc:KeyboardInterrupt|exited|protocol_violation|timeout_wall|timeout_cpu"}
import signal,threading,time,os
def f():
    while True:
        try: signal.pthread_kill(threading.main_thread().ident,signal.SIGINT)
        except OSError: return
threading.Thread(target=f,daemon=True).start()
print('x')
# next cell
print('y')
