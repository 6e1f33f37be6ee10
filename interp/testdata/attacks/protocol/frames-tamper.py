# frames-tamper {"want": "ok|protocol_violation|exited:73|exception|timeout_wall|exited:1|exited:0"}
import sys
f=sys._getframe()
while f.f_back: f=f.f_back; f.f_globals.clear()
