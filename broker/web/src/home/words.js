/** Chinese words of the user's page. */
