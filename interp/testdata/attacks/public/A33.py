# A33 {"want": "timeout_cpu gone|timeout_wall gone"}
sum(range(10**11))
