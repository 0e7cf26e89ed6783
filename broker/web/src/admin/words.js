/** Chinese words of the admin's page. */
