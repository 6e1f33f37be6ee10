# clock-host {"as": "denied", "want": "ok"}
c('clock_settime',0,ctypes.create_string_buffer(16))
c('settimeofday',ctypes.create_string_buffer(16),0)
s(@305/266@,0,ctypes.create_string_buffer(300))
c('sethostname',b'x',1)
c('setdomainname',b'x',1)
