from gearsvc.client.blocking import GearmanClient

with GearmanClient(["127.0.0.1:4730"]) as client:
    print(client.submit("reverse", "Hello World!").result().decode())
