"""The trained model: predicting, saving and loading."""
