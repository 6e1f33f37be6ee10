# timer-storm {"want": "ok|timeout_wall|timeout_cpu;ok|protocol_violation|crashed:SIGALRM"}
import signal,time
signal.signal(signal.SIGALRM,lambda *a: None)
signal.setitimer(signal.ITIMER_REAL,0.0001,0.0001)
t=time.time()
while time.time()-t<0.2: pass
print('ok')
# next cell
print('still')
