# faulthandler-flood {"want": "ok|output_flood|exc:RuntimeError"}
import faulthandler,time
faulthandler.dump_traceback_later(0.001,repeat=True)
time.sleep(0.2)
faulthandler.cancel_dump_traceback_later()
print('x')
