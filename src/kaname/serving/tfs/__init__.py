"""The REST API of TensorFlow Serving, which is also the first prediction protocol of KServe.

Sources: https://www.tensorflow.org/tfx/serving/api_rest and https://kserve.github.io/website (data plane, V1 protocol).
"""
