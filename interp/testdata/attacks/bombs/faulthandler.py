# faulthandler {"want": "exited:1 gone"}
import faulthandler,time
faulthandler.dump_traceback_later(0.05,exit=True)
time.sleep(10)
