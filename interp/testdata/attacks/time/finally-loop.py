# finally-loop {"want": "timeout_cpu|timeout_wall"}
try:
    while True: len('')
finally:
    while True: len('')
