# sigint-storm {"want": "ok|exc:KeyboardInterrupt;ok|exc:KeyboardInterrupt"}
import signal,os,threading
for i in range(2000):
    try: signal.raise_signal(signal.SIGINT)
    except (KeyboardInterrupt,OSError): pass
print('x')
# next cell
print('y')
