# alarm-later {"want": "ok|crashed|timeout_cpu|timeout_wall"}
import signal
signal.setitimer(signal.ITIMER_VIRTUAL,0.05,0.05)
signal.setitimer(signal.ITIMER_PROF,0.05,0.05)
for i in range(3000000): pass
print('x')
